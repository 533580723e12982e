"""Finds the package of a module: PIL is in pillow."""

# Modules whose package has another name. (A package with the module's name is something else.)
_PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "pptx": "python-pptx",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def package_of(module: str) -> str:
    """Return the usual package of a module; else the module's own name."""
    return _PACKAGES.get(module, module)
