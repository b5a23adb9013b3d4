"""The graph of a run: plan → preflight → accept → propose → act → … → verify → report.

A static graph of small nodes. Each returns what changes in the state; waiting for a person is a node of its
own, because LangGraph runs a node again from its first line when it resumes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agent.nodes import acting, checking, planning
from agent.state import State
from agent.work import Work

Node = Callable[[Work, State], Awaitable[dict[str, Any]]]
NODES: dict[str, Node] = {
    "plan": planning.plan,
    "preflight": planning.preflight_node,
    "accept": planning.accept,
    "propose": acting.propose,
    "act": acting.act,
    "wait": acting.wait,
    "verify": checking.verify,
    "report": checking.report,
}
"""Node names are a stored format: checkpoints name them."""

MOST_SUPERSTEPS = 100_000
"""Not a limit anyone should meet: the policy limits steps, time, tokens and money."""


def build(work: Work, saver: BaseCheckpointSaver[Any]) -> CompiledStateGraph[State, None, State, State]:
    """The graph over this run's work, checkpointed by `saver`."""
    graph: StateGraph[State, None, State, State] = StateGraph(State)
    for name, node in NODES.items():
        graph.add_node(name, partial(node, work))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", _after_plan, ["plan", "preflight", "wait"])
    graph.add_conditional_edges("preflight", _after_preflight, ["propose", "wait", "report"])
    graph.add_conditional_edges("accept", _after_accept, ["propose", "wait", "report"])
    graph.add_conditional_edges("propose", _after_propose, ["act", "propose", "verify", "wait"])
    graph.add_conditional_edges("act", partial(_after_act, work), ["act", "propose", "wait", "report"])
    graph.add_conditional_edges("wait", _after_wait, ["accept", "act", "plan", "propose", "report"])
    graph.add_conditional_edges("verify", _after_verify, ["verify", "report"])
    graph.add_edge("report", END)
    return graph.compile(checkpointer=saver)


def _after_plan(state: State) -> str:
    if state.get("trouble"):
        return "wait"
    return "preflight" if state["calls"] else "plan"


def _after_preflight(state: State) -> str:
    if state.get("end"):
        return "report"
    return "wait" if state["calls"] else "propose"


def _after_accept(state: State) -> str:
    if state.get("end"):
        return "report"
    return "wait" if state["calls"] else "propose"


def _after_propose(state: State) -> str:
    if state.get("trouble"):
        return "wait"
    if state["checking"]:
        return "verify"
    return "act" if any(not c["done"] for c in state["calls"]) else "propose"


async def _after_act(work: Work, state: State) -> str:
    # INVARIANT: what reads the store is async. LangGraph runs other functions in a thread, and the store's connection
    # belongs to one.
    if state.get("end"):
        return "report"
    if all(c["done"] for c in state["calls"]):
        return "propose"
    return "wait" if acting.unanswered(work, state) else "act"


def _after_wait(state: State) -> str:
    """Back to where the run was held."""
    if state.get("end"):
        return "report"
    if state["turn"] == 0:
        return "accept" if any(c["waits_for"] for c in state["calls"]) else "plan"
    return "act" if any(not c["done"] for c in state["calls"]) else "propose"


def _after_verify(state: State) -> str:
    return "report" if state.get("end") else "verify"
