"""What can be changed in a piece of source, and how: one node at a time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}
_TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_UNTOUCHED = ("__repr__", "__str__")


class Mutant(NamedTuple):
    """One change. `name` stays the same when lines move: it says the function, the old text and the new one."""

    path: str
    line: int
    function: str
    old: str
    new: str
    place: int
    """Which of the function's changes of this very text it is, from 0."""

    tree: ast.Module
    """The file as it is."""

    node: ast.AST
    replacement: ast.AST

    def changed(self) -> ast.Module:
        """The file with the change."""
        return _Replacing(self.node, self.replacement).run(self.tree)

    @property
    def name(self) -> str:
        again = f" #{self.place + 1}" if self.place else ""
        return f"{self.path} {self.function}: {self.old} -> {self.new}{again}"


def find_mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a file. What only speaks (log lines, texts of errors, docstrings, `__repr__`) is left alone."""
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for function, node in _nodes(tree):
        for replacement in _replacements(node):
            old, new = _text(node), _text(replacement)
            if old == new:
                continue
            key = f"{function}: {old} -> {new}"
            place = seen[key] = seen.get(key, -1) + 1
            yield Mutant(path, node.lineno, function, old, new, place, tree, node, replacement)


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 160 else text[:157] + "..."


def _nodes(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """The nodes inside functions, with the function's qualified name."""

    def walk(node: ast.AST, names: tuple[str, ...], is_inside: bool) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if child.name not in _UNTOUCHED:
                    is_function = not isinstance(child, ast.ClassDef)
                    for part in child.body:
                        yield from visit(part, (*names, child.name), is_inside or is_function)
            else:
                yield from visit(child, names, is_inside)

    def visit(node: ast.AST, names: tuple[str, ...], is_inside: bool) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from walk(ast.Module([node], []), names, is_inside)
            return
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert) or _only_speaks(node):
            if is_inside and isinstance(node, ast.Raise):
                yield ".".join(names), node
            return
        if is_inside and isinstance(node, ast.expr | ast.stmt):
            yield ".".join(names), node
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                yield from visit(node.value, names, is_inside)
            return
        yield from walk(node, names, is_inside)

    return walk(tree, (), False)


def _only_speaks(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    call = node.value
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("_log", "log")


def _replacements(node: ast.expr | ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
        yield ast.Compare(node.left, [_COMPARISONS[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for index in range(len(node.values)):
            rest = node.values[:index] + node.values[index + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.If):
        for value in (True, False):
            yield ast.If(ast.Constant(value), node.body, node.orelse)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TWINS:
        yield ast.Call(ast.Name(_TWINS[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)):
        yield ast.Pass()


class _Replacing(ast.NodeTransformer):
    """A copy of the tree in which one node is another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def run(self, tree: ast.Module) -> ast.Module:
        mark = "_is_mutated_here"
        setattr(self._old, mark, True)
        copied = deepcopy(tree)
        delattr(self._old, mark)
        self._old = next(node for node in ast.walk(copied) if hasattr(node, mark))
        new = ast.copy_location(deepcopy(self._new), self._old)
        self._new = new
        changed: ast.Module = self.visit(copied)
        return ast.fix_missing_locations(changed)

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)
