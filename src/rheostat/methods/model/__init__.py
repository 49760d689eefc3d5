"""Methods of the `model` seam: which model does the next token or request?"""
