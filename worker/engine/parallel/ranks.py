"""The processes of a group, a device each: what the leader tells the others, and how all of them agree.

A call has been made on all devices or has failed on all of them. A device that fails in the middle of a forward takes
part, with zeros, in the sums that are left of it, because the others wait in them; then all of them hear of it. What
devices cannot agree on so, because one of them is gone, has stopped or is elsewhere, ends them all.
"""

import io
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from multiprocessing.connection import Connection
from typing import TypeVar
from weakref import WeakKeyDictionary, finalize

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store  # torch.distributed does not say that it exports it

from worker.engine.cache.memory import is_out_of_memory
from worker.engine.errors import first_line
from worker.engine.layers.attention import SharedPrefix
from worker.engine.parallel.group import Call, Member
from worker.engine.parallel.watch import Watch, end_process

PATIENCE_AT_LOAD = timedelta(hours=2)
"""How long a device waits for another: loading takes long, and whoever supervises an engine is less patient."""
SEAT_VARIABLES = ("LOCAL_RANK", "GLOO_SOCKET_IFNAME")
"""Where transformers finds the index of the device, and gloo the network: in the environment, as long as a group is."""
_DONE, _OUT_OF_MEMORY, _FAILED = range(3)

T = TypeVar("T")


class GroupError(RuntimeError):
    """Another device of the group failed."""


class GroupClosedError(GroupError):
    """The devices that held this model together have been let go: load it again."""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass(frozen=True, slots=True)
class Seat:
    """One device's place in a group."""

    rank: int
    """0 leads."""
    devices: tuple[str, ...]
    """The devices of all ranks, in their order."""
    port: int
    """On this machine, where the leader keeps what the ranks need to find each other."""
    patience_seconds: float
    """Most that one call may last."""


class _Rank:
    """What leader and followers do alike."""

    def __init__(self, seat: Seat, store: Store) -> None:
        self.rank, self.size = seat.rank, len(seat.devices)
        self.device = torch.device(seat.devices[seat.rank])
        local_rank, interface = SEAT_VARIABLES
        os.environ[local_rank] = str(self.device.index or 0)
        os.environ.setdefault(interface, "lo")
        backend = "gloo"
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=PATIENCE_AT_LOAD)
        self._watch: Watch | nullcontext[None] = nullcontext()
        self._patience_seconds = seat.patience_seconds
        self._num_tokens = 0  # of the forward that runs, 0 outside of one
        self._sums: list[tuple[int, torch.dtype]] = []  # of this forward so far: numbers per token
        self._sums_of_member: dict[int, list[tuple[int, torch.dtype]]] = {}

    def begin(self, num_tokens: int) -> None:
        """A forward over so many tokens begins."""
        self._num_tokens = num_tokens

    def sum(self, part: Tensor) -> Tensor:
        """The sum of the parts that the devices have; `part` may be overwritten."""
        part = part.contiguous()
        if self._num_tokens:
            self._sums.append((part.numel() // self._num_tokens, part.dtype))
        dist.all_reduce(part)
        return part

    def least(self, value: int) -> int:
        """The least of the values that the devices have."""
        return self._reduced(value, dist.ReduceOp.MIN)

    def _reduced(self, value: int, operation: dist.ReduceOp.RedOpType) -> int:
        held = torch.tensor(value)  # on the host: no device is waited for
        dist.all_reduce(held, op=operation)
        return int(held)

    def _together(self, call: Call[T]) -> T:
        """Make a call that all others make now, too, and raise where it has failed on any device."""
        failure: Exception | None = None
        self._sums, self._num_tokens = [], 0
        try:
            result = call()
            if self._sums:
                self._sums_of_member[call.member.number] = self._sums
        except Exception as error:  # noqa: BLE001 (raised below, once all devices know)
            failure = error
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                error.__traceback__ = None  # it keeps the step's tensors alive
        own = _DONE
        if failure is not None:
            own = _OUT_OF_MEMORY if isinstance(failure, RuntimeError) and is_out_of_memory(failure) else _FAILED
        try:
            if failure is not None:
                self._take_part_in_the_rest(call.member)
            worst = self._reduced(own, dist.ReduceOp.MAX)
        except Exception as error:
            end_process(f"What a device met cannot be told to the others ({first_line(failure or error)}).")
            raise
        self._num_tokens = 0
        if isinstance(self._watch, nullcontext):  # until now, another device may have been loading
            self._watch = Watch(self._patience_seconds)
        self._raise_where_failed(failure, own, worst)
        return result

    def _take_part_in_the_rest(self, member: Member) -> None:
        """Of the sums of a forward that has failed here: the other devices wait for this one in each.

        Raises KeyError where no forward has shown yet which those are.
        """
        if not self._num_tokens:
            return
        for width, dtype in self._sums_of_member[member.number][len(self._sums) :]:
            dist.all_reduce(torch.zeros(self._num_tokens * width, dtype=dtype, device=self.device))

    @staticmethod
    def _raise_where_failed(failure: Exception | None, own: int, worst: int) -> None:
        if failure is not None and own == worst:
            raise failure
        if worst == _OUT_OF_MEMORY:
            raise torch.OutOfMemoryError
        if worst == _FAILED:
            raise GroupError


@dataclass(frozen=True, slots=True)
class _Order:
    """From the leader: call this method of a member."""

    member: int
    method: str
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    prefix: int
    """The number of the shared prefix that the method returns, if it does."""
    forgotten: tuple[int, ...]
    """Numbers of prefixes that the leader uses no more."""


class Leader(_Rank):
    """The group as its first process sees it."""

    def __init__(self, seat: Seat, store: Store, followers: Sequence[Connection], end: Callable[[], None]) -> None:
        """`end` ends the followers: when the group is closed, and when nobody uses it any more."""
        self._followers = followers
        self._end = finalize(self, end)
        self._numbers = count(1)
        self._prefixes: WeakKeyDictionary[SharedPrefix, int] = WeakKeyDictionary()
        self._forgotten: list[int] = []
        super().__init__(seat, store)

    def act(self, call: Call[T]) -> T:
        """Have it made everywhere. A shared prefix stays where it is: each device has its own share of it."""
        if not self._end.alive:
            raise GroupClosedError
        number = next(self._numbers)
        forgotten = tuple(self._forgotten)
        self._forgotten.clear()
        order = _Order(call.member.number, call.method.__name__, call.args, call.kwargs, number, forgotten)
        try:
            with self._watch:
                self._tell(order)
                result = self._together(call)
        except Exception:
            self._forgotten.append(number)
            raise
        except BaseException:  # an interrupt: the others are in the middle of it, and nobody knows where
            self.close()
            raise
        if isinstance(result, SharedPrefix):
            self._prefixes[result] = number
            finalize(result, self._forgotten.append, number)
        return result

    def close(self) -> None:
        """End the followers."""
        self._end()

    def _tell(self, order: _Order) -> None:
        written = io.BytesIO()
        pickler = _Writer(written, self._prefixes)
        pickler.dump(order)
        for follower in self._followers:
            follower.send_bytes(written.getbuffer())
        for tensor in pickler.tensors:
            dist.broadcast(tensor.contiguous(), src=0)


class Follower(_Rank):
    """The group as any other process sees it."""

    def __init__(self, seat: Seat, store: Store, leader: Connection) -> None:
        self._leader = leader
        self._prefixes: dict[int, SharedPrefix] = {}
        super().__init__(seat, store)

    def act(self, call: Call[T]) -> T:
        """Make it here: the leader has said so."""
        with self._watch:
            return self._together(call)

    def close(self) -> None:
        """The leader does that."""

    def serve(self, members: Sequence[Member]) -> None:
        """Do what the leader says, until it is gone: then EOFError."""
        while True:
            reader = _Reader(io.BytesIO(self._leader.recv_bytes()), self._prefixes, self.device)
            order: _Order = reader.load()
            with self._watch:
                for tensor in reader.tensors:
                    dist.broadcast(tensor, src=0)
            method = getattr(members[order.member], order.method)
            with suppress(Exception):  # which the leader has, too: it decides what follows
                result = method(*order.args, **order.kwargs)
                if isinstance(result, SharedPrefix):
                    self._prefixes[order.prefix] = result
            for number in order.forgotten:
                self._prefixes.pop(number, None)


class _Writer(pickle.Pickler):
    """Writes orders; a shared prefix is a number in them, and a tensor comes behind them from device to device."""

    def __init__(self, file: io.BytesIO, prefixes: Mapping[SharedPrefix, int]) -> None:
        super().__init__(file)
        self._prefixes = prefixes
        self.tensors: list[Tensor] = []

    def persistent_id(self, thing: object) -> "int | tuple[torch.Size, torch.dtype] | None":
        """What stands for the thing; None for the thing itself."""
        if isinstance(thing, SharedPrefix):
            return self._prefixes[thing]
        if isinstance(thing, Tensor):
            self.tensors.append(thing)
            return thing.shape, thing.dtype
        return None


class _Reader(pickle.Unpickler):
    """Reads what the leader's writer wrote; its tensors are to be filled."""

    def __init__(self, file: io.BytesIO, prefixes: Mapping[int, SharedPrefix], device: torch.device) -> None:
        super().__init__(file)
        self._prefixes = prefixes
        self._device = device
        self.tensors: list[Tensor] = []

    def persistent_load(self, stands_for: "int | tuple[torch.Size, torch.dtype]") -> "SharedPrefix | Tensor":
        """What the number of a prefix, or a shape and dtype, stands for."""
        if isinstance(stands_for, int):
            return self._prefixes[stands_for]
        shape, dtype = stands_for
        self.tensors.append(torch.empty(shape, dtype=dtype, device=self._device))
        return self.tensors[-1]
