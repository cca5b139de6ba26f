"""The sentences of messages where a rule gives none, in English and Chinese: data alone."""

from typing import Literal

Kind = Literal["status", "failed", "export", "node"]

TITLES: dict[str, dict[Kind, str]] = {
    "en": {
        "status": "Training {short_id} is {status}",
        "failed": "Training {short_id} failed: {error_code}",
        "export": "Export of training {short_id}: {export_status}",
        "node": "Node {node_id} is {state}",
    },
    "zh": {
        "status": "训练任务 {short_id}：{status}",
        "failed": "训练任务 {short_id} 失败：{error_code}",
        "export": "训练任务 {short_id} 的导出：{export_status}",
        "node": "节点 {node_id}：{state}",
    },
}

LINES: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("error_message", "{error_message}"),
        ("reason", "Reason: {reason}"),
        ("exit_code", "Exit code: {exit_code}"),
        ("export_path", "Exported to: {export_path}"),
        ("export_error", "Export error: {export_error}"),
        ("devices", "Devices: {devices}"),
        ("job_id", "Job: {job_id} ({training_type}, attempt {attempt})"),
        ("owner", "Owner: {owner}"),
        ("labels", "Labels: {labels}"),
        ("time", "Time: {time}"),
    ),
    "zh": (
        ("error_message", "{error_message}"),
        ("reason", "原因：{reason}"),
        ("exit_code", "退出码：{exit_code}"),
        ("export_path", "导出位置：{export_path}"),
        ("export_error", "导出错误：{export_error}"),
        ("devices", "设备：{devices}"),
        ("job_id", "任务：{job_id}（{training_type}，第 {attempt} 次尝试）"),
        ("owner", "所有者：{owner}"),
        ("labels", "标签：{labels}"),
        ("time", "时间：{time}"),
    ),
}
"""Lines of a text, each with the value without which it is left out."""

CHINESE: dict[str, str] = {
    "pending": "待启动",
    "queued": "排队中",
    "starting": "启动中",
    "running": "运行中",
    "stopping": "停止中",
    "completed": "已完成",
    "failed": "失败",
    "cancelled": "已取消",
    "none": "无",
    "online": "在线",
    "drained": "已停止接收新任务",
    "offline": "离线",
    "out_of_memory": "显存或内存不足",
    "model_not_found": "找不到模型",
    "dataset_error": "数据集错误",
    "bad_argument": "参数错误",
    "nccl_error": "NCCL 通信错误",
    "hardware_error": "硬件故障",
    "disk_full": "磁盘已满",
    "nan_loss": "损失值为 NaN",
    "stalled": "长时间无输出",
    "timeout": "超时",
    "killed": "进程被终止",
    "node_lost": "节点失联",
    "spawn_failed": "进程无法启动",
    "dependency_failed": "依赖的任务未完成",
    "unknown": "未知原因",
}
"""Words of the contract's enums; a test says that none is missing."""
