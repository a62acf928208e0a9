"""Which forward functions only move tensors, add, multiply, and call others: found in their source.

Such code needs no interception of its own: torch's sums and products of float32 numbers are what the
accumulator and the multiplier give, and whatever else the code can reach (modules, functions, ``torch.*``) is
called by names that stand in the source, so that each can be led back to the chip. Source that holds anything
else is left alone and runs intercepted, operation by operation; so is source that cannot be read.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ohmformer.deploy.names import words

# Methods of tensors that compute nothing and cannot change a number.
MOVING = words(
    """view reshape transpose permute contiguous unsqueeze squeeze expand split chunk flatten size dim
    split_with_sizes unbind swapaxes movedim"""
)
ASKED = words("shape dtype device ndim")  # of tensors, besides
# Methods of what is no tensor: caches, dictionaries, loggers, the table of attention functions.
FOREIGN = words("update get get_seq_length get_interface warning_once")
_ANNOTATIONS = __future__.annotations.compiler_flag  # they stand outside the body
HARMLESS = words("isinstance hasattr len int tuple list range bool")
TENSOR_NAMES = frozenset(name for name in dir(Tensor) if not name.startswith("__"))
SUMS = (ast.Add, ast.Sub, ast.Mult)
NODES = (
    ast.Assign,
    ast.AnnAssign,
    ast.Return,
    ast.If,
    ast.IfExp,
    ast.Expr,
    ast.Pass,
    ast.Raise,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.Starred,
    ast.Slice,
    ast.keyword,
    ast.BoolOp,
    ast.Compare,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)


class _NotPlain(Exception):
    """The source holds something else."""


@dataclass(frozen=True, kw_only=True)
class PlainCode:
    """What plain source reaches by name.

    functions: global functions that it calls
    spaces:    global modules whose functions it calls (``torch``, ``nn``)
    methods:   what it calls on ``self``: modules, methods and other callables
    reads:     what of ``self`` it looks at, as dotted names
    tables:    global objects of which it calls a method (``ALL_ATTENTION_FUNCTIONS``)
    asked:     what it looks at, or calls, on anything but ``self``
    known:     every global name in it
    caches:    whether it writes into a cache
    """

    functions: frozenset[str]
    spaces: frozenset[str]
    methods: frozenset[str]
    reads: frozenset[str]
    tables: frozenset[str]
    asked: frozenset[str]
    known: frozenset[str]
    caches: bool


def without_checkpoints(forward: Callable[..., Any]) -> Callable[..., Any]:
    """What runs of a forward that ``transformers`` wraps for training, when nothing is trained."""
    code = getattr(forward, "__code__", None)
    if code is not None and code.co_name == "forward_with_checkpointing":
        inner: Callable[..., Any] = getattr(forward, "__wrapped__", forward)
        return inner
    return forward


@cache
def plain_code(function: Callable[..., Any]) -> PlainCode | None:
    """What ``function`` reaches, if its source is plain; None if it is not."""
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    if function.__code__.co_freevars or function.__code__.co_cellvars:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    if not isinstance(tree, ast.FunctionDef) or tree.name != function.__code__.co_name:
        return None
    if not _runs(tree, function.__code__):
        return None
    reader = _Reader(tree, function.__globals__, function.__code__)
    try:
        for statement in tree.body:
            reader.read(statement)
    except _NotPlain:
        return None
    return PlainCode(
        functions=frozenset(reader.functions),
        spaces=frozenset(reader.spaces),
        methods=frozenset(reader.methods),
        reads=frozenset(reader.reads),
        tables=frozenset(reader.tables),
        asked=frozenset(reader.asked),
        known=frozenset(name for name in function.__code__.co_names if name in function.__globals__),
        caches=reader.caches,
    )


def _runs(tree: ast.FunctionDef, code: CodeType) -> bool:
    """Whether the source that was found is what runs: a file may have changed since it was read."""
    tree.decorator_list = []
    made = compile(ast.Module([tree], []), "source", "exec", _ANNOTATIONS, True)
    found = [one for one in made.co_consts if isinstance(one, CodeType) and one.co_name == tree.name]
    first = ast.get_docstring(tree) is not None  # whose indentation was taken off
    return any(
        one.co_consts[first:] == code.co_consts[first:] and _steps(one) == _steps(code) for one in found
    )


def _steps(code: CodeType) -> list[tuple[str, Any]]:
    """What code does, step by step; calls of methods of imported modules are compiled in two ways."""
    jumps = {*dis.hasjrel, *dis.hasjabs}
    return [
        ("LOAD_ATTR" if step.opname == "LOAD_METHOD" else step.opname, step.opcode in jumps or step.argval)
        for step in dis.get_instructions(code)
    ]


class _Reader:
    """Walks through the source of one function and refuses what is not plain."""

    def __init__(self, tree: ast.FunctionDef, known: Mapping[str, Any], code: Any) -> None:
        self.known = known
        arguments = tree.args
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        self.own = names[0].arg if names and names[0].arg in ("self", "module") else ""
        self.locals = set(code.co_varnames)
        self.caches = False
        self.functions: set[str] = set()
        self.spaces: set[str] = set()
        self.methods: set[str] = set()
        self.reads: set[str] = set()
        self.tables: set[str] = set()
        self.asked: set[str] = set()
        self._chosen = _interfaces(tree)

    def read(self, node: ast.AST) -> None:
        """Error: _NotPlain for anything that is not known to be plain."""
        handler = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is not None:
            handler(node)
        elif isinstance(node, NODES):
            self._children(node)
        else:
            raise _NotPlain

    def _children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.read(child)

    def _assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._target(target)
        self.read(node.value)

    def _annassign(self, node: ast.AnnAssign) -> None:
        self._target(node.target)
        if node.value is not None:
            self.read(node.value)

    def _target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name) and target.id != self.own:
            return
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._target(part)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute):
            if target.value.attr != "is_updated":  # of a cache: which layers it holds
                raise _NotPlain
            self.read(target.value)
            self.read(target.slice)
        else:
            raise _NotPlain

    def _name(self, node: ast.Name) -> None:
        if node.id in self.locals or node.id in HARMLESS:
            return
        value = self.known.get(node.id, getattr(builtins, node.id, _NotPlain))
        # classes to compare with, and a function that is handed on as the default of an interface
        if isinstance(value, type):
            return
        if isinstance(value, FunctionType):
            self.functions.add(node.id)
        elif not isinstance(value, (int, float, str, bool, type(None))):
            raise _NotPlain

    def _subscript(self, node: ast.Subscript) -> None:
        self.read(node.value)
        self.read(node.slice)

    def _attribute(self, node: ast.Attribute) -> None:
        if _is_name(node.value, "torch") and "torch" not in self.locals:
            if not isinstance(getattr(torch, node.attr, None), (torch.dtype, type)):
                raise _NotPlain
            return
        if self.own and _root(node) == self.own:
            self.reads.add(ast.unparse(node).split(".", 1)[1])
            return
        # ``values`` is a method of tensors, but of the layer of a cache it is what was read
        if node.attr in TENSOR_NAMES and node.attr not in ASKED and node.attr != "values":
            raise _NotPlain
        self.asked.add(node.attr)
        self.read(node.value)

    def _unaryop(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Invert):
            raise _NotPlain
        self.read(node.operand)

    def _binop(self, node: ast.BinOp) -> None:
        if not isinstance(node.op, SUMS) and not (
            isinstance(node.op, (ast.FloorDiv, ast.Div)) and _number(node.left) and _number(node.right)
        ):
            raise _NotPlain
        self._children(node)

    def _call(self, node: ast.Call) -> None:
        if not self._looked_up(node):
            self._called(node.func)
        for argument in [*node.args, *node.keywords]:
            self.read(argument)

    def _called(self, called: ast.expr) -> None:
        if isinstance(called, ast.Name):
            self._called_name(called.id)
            return
        if isinstance(called, ast.Subscript):  # one of a list of modules
            found = called.value
            if not (isinstance(found, ast.Attribute) and _is_name(found.value, self.own)):
                raise _NotPlain
            self.methods.add(found.attr)
            self.read(called.slice)
            return
        if not isinstance(called, ast.Attribute):
            raise _NotPlain
        if _is_name(called.value, self.own) and self.own:
            self.methods.add(called.attr)
            return
        root = _root(called)
        if root is not None and root not in self.locals and isinstance(self.known.get(root), ModuleType):
            self.spaces.add(root)
            return
        if called.attr not in MOVING and called.attr not in FOREIGN:
            raise _NotPlain
        self.caches = self.caches or called.attr == "update"
        self.asked.add(called.attr)
        if called.attr in FOREIGN and root is not None and root in self.known and root not in self.locals:
            self.tables.add(root)
            return
        self.read(called.value)

    def _looked_up(self, node: ast.Call) -> bool:
        """``getattr(self.config, "name", default)``: a setting under a name that stands there."""
        if not (_is_name(node.func, "getattr") and "getattr" not in self.locals and len(node.args) > 1):
            return False
        owner, name = node.args[:2]
        if not (self.own and _root(owner) == self.own and isinstance(name, ast.Constant)):
            return False
        dotted = ast.unparse(owner).split(".", 1)
        self.reads.add(".".join([*dotted[1:], str(name.value)]))
        return True

    def _called_name(self, name: str) -> None:
        if name in self.locals:
            if name not in self._chosen:
                raise _NotPlain
            return
        value = self.known.get(name, getattr(builtins, name, None))
        if name in HARMLESS and value is getattr(builtins, name):
            return
        if isinstance(value, type) and issubclass(value, Exception):
            return
        if not isinstance(value, FunctionType):
            raise _NotPlain
        self.functions.add(name)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _root(node: ast.expr) -> str | None:
    """The name at the head of ``name.attribute.attribute``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _number(node: ast.expr) -> bool:
    """Whether an expression is a number whatever the data: made of constants and sizes."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float))
    if isinstance(node, ast.BinOp):
        return _number(node.left) and _number(node.right)
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "shape"
        and not isinstance(node.slice, ast.Slice)
    )


def _interfaces(tree: ast.FunctionDef) -> set[str]:
    """Local names that only ever stand for what ``….get_interface(…)`` gave."""
    found: set[str] = set()
    others: set[str] = {argument.arg for argument in ast.walk(tree.args) if isinstance(argument, ast.arg)}
    for node in ast.walk(tree):
        targets: Iterable[ast.expr] = ()
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = (node.target,)
        value = getattr(node, "value", None)
        chosen = (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "get_interface"
            and _root(value.func) == "ALL_ATTENTION_FUNCTIONS"
        )
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    (found if chosen and part is target else others).add(part.id)
        if isinstance(node, (ast.For, ast.comprehension, ast.NamedExpr, ast.With)):
            others.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
    return found - others


# What plain code may look at on its module; of anything else its methods could compute.
WORTH = (bool, int, float, str, type(None), list, tuple, dict, torch.dtype, type)
FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
OWNED = (nn.Module, PreTrainedConfig, *WORTH, *FUNCTIONS)
CALLED = (nn.Module, type(None), *FUNCTIONS)


def owned_plainly(module: nn.Module, code: PlainCode) -> bool:
    """Whether plain code looks at modules and settings of ``module`` alone, and calls what is known."""
    for name in code.reads | code.methods:
        value: Any = module
        for part in name.split("."):
            if isinstance(value, Tensor) and part in ASKED:
                break
            value = getattr(value, part, None)
        else:
            if isinstance(value, Tensor) or not isinstance(value, CALLED if name in code.methods else OWNED):
                return False
    return all(type(child).__call__ is nn.Module.__call__ for child in module.children())


def names_on(model: nn.Module) -> frozenset[str]:
    """What plain code cannot ask anything but ``self`` for: stored tensors, and methods of modules."""
    found: set[str] = set()
    for module in model.modules():
        found.update(module._parameters, module._buffers)
        if not isinstance(module, (nn.ModuleDict, nn.ParameterDict)):
            found.update(name for name in MOVING | FOREIGN if hasattr(module, name))
    return frozenset(found)
