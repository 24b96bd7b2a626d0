"""How clients see a log: one small module for each way, side by side."""
