"""The chart: a Streamlit component of ours around TradingView's lightweight-charts, and what it is given to draw."""
