"""The trader's web app of Crosstape, in Streamlit. It reaches the platform through the SDK only."""
