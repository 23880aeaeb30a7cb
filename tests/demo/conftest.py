from tests.node.conftest import node, stopped_node

__all__ = ["node", "stopped_node"]
