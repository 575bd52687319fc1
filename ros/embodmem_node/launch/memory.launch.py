"""Starts the node and, unless autostart:=false, takes it through configure and activate."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    """The node, its settings, and the two transitions."""
    settings = PathJoinSubstitution([FindPackageShare("embodmem_node"), "config", "memory.yaml"])
    autostart = IfCondition(LaunchConfiguration("autostart"))
    node = LifecycleNode(
        package="embodmem_node",
        executable="memory",
        name="embodmem",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {"memory_file": LaunchConfiguration("memory_file")},
            {"use_sim_time": LaunchConfiguration("use_sim_time")},
        ],
        output="screen",
    )

    def change(transition: int, condition: IfCondition | None = None) -> EmitEvent:
        event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        return EmitEvent(event=event, condition=condition)

    activate = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[change(Transition.TRANSITION_ACTIVATE)],
        ),
        condition=autostart,
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("params_file", default_value=settings, description="YAML file of parameters"),
            DeclareLaunchArgument("memory_file", default_value="memory.mem", description="The memory's file"),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock"),
            DeclareLaunchArgument("autostart", default_value="true", description="Configure and activate it"),
            node,
            activate,
            change(Transition.TRANSITION_CONFIGURE, autostart),
        ]
    )
