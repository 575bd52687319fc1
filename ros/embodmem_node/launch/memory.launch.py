"""Starts the node and, unless autostart:=false, takes it through configure and activate."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    """The arguments, then the node."""
    settings = PathJoinSubstitution([FindPackageShare("embodmem_node"), "config", "memory.yaml"])
    as_set = "; if not given, as params_file says"
    return LaunchDescription(
        [
            DeclareLaunchArgument("params_file", default_value=settings, description="YAML file of parameters"),
            DeclareLaunchArgument("memory_file", default_value="", description="The memory's file" + as_set),
            DeclareLaunchArgument("use_sim_time", default_value="", description="Take the time from /clock" + as_set),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
            DeclareLaunchArgument("autostart", default_value="true", description="Configure and activate it"),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, its settings, and the two transitions."""
    given = {}
    for name, kind in (("memory_file", str), ("use_sim_time", bool)):
        if LaunchConfiguration(name).perform(context):
            given[name] = ParameterValue(LaunchConfiguration(name), value_type=kind)
    node = LifecycleNode(
        package="embodmem_node",
        executable="memory",
        name="embodmem",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), *([given] if given else [])],
        output="screen",
    )
    autostart = IfCondition(LaunchConfiguration("autostart"))

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
    return [node, activate, change(Transition.TRANSITION_CONFIGURE, autostart)]
