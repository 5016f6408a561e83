"""A linear support vector machine: one dense layer over the flat inputs, and a hinge loss."""

from typing import ClassVar

from models.linear import Linear


class SVM(Linear):
    """`--loss hinge` separates the classes from each other (Crammer & Singer 2001), `squared_hinge`
    each from the rest; --weight_decay is what widens the margin."""

    losses: ClassVar[tuple[str, ...]] = ("hinge", "squared_hinge")  # the first one by default
