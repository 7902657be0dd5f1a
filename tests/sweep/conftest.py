from tests.sweep.parts import pretended

__all__ = ["pretended"]
