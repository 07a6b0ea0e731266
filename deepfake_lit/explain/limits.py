"""What the page takes at most. Imports nothing, so that the page opens early."""

MOST = 100  # images at once
LARGEST = 50  # MB of an image file
TOTAL = 500  # MB of all files that are sent together
