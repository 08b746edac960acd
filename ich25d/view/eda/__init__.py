"""`ich25d eda`: labels, technical attributes and pictures of the data, before anything is trained on them."""
