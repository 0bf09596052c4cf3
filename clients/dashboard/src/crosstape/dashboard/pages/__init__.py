"""The app's pages: one module each, with the Streamlit calls. What they show is computed beside this folder."""
