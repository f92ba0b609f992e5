import Foundation
import Torch
import XTunerCommands
import XTunerData
import XTunerModels
import XTunerTokenizers
import XTunerTrainer

/// `xtuner info`.
enum InfoHandler {
  static func run(_ command: InfoCommand) {
    let cores = ProcessInfo.processInfo.activeProcessorCount
    let memory = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    let processor = field("model name", of: "/proc/cpuinfo") ?? "unknown"
    let presets = ModelPreset.all.map(\.name)
    let formats = DataFormat.allCases.map(\.rawValue)
    let ascend =
      Accelerator.load(.privateUse) ?? "\(Device.count(of: .privateUse)) NPUs, never tried on one"
    if command.json {
      return Output.write([
        "xtuner": .string(XTunerVersion.current), "libtorch": .string(Torch.version),
        "processor": .string(processor), "cpu_capability": .string(Torch.cpuCapability),
        "bfloat16_hardware": .bool(Torch.hasBFloat16Hardware), "cores": .integer(cores),
        "threads": .integer(Torch.threadCount), "memory_bytes": .integer(memory),
        "devices": .strings(["cpu"]), "ascend": .string(ascend), "model_presets": .strings(presets),
        "chat_templates": .strings(ChatTemplate.names), "data_formats": .strings(formats),
      ])
    }
    Output.write(rows: [
      ("xtuner", XTunerVersion.current), ("libtorch", Torch.version),
      ("processor", "\(processor), \(cores) cores, \(Torch.cpuCapability)"),
      ("bfloat16", Torch.hasBFloat16Hardware ? "in hardware" : "emulated; f32 is faster here"),
      ("threads", "\(Torch.threadCount)"), ("memory", NumberFormat.bytes(memory)),
      ("devices", "cpu (CUDA: not in this version)"), ("ascend", ascend),
      ("model presets", presets.joined(separator: ", ")),
      ("chat templates", ChatTemplate.names.joined(separator: ", ")),
      ("data formats", formats.joined(separator: ", ")),
    ])
  }

  /// The value of the first `NAME : VALUE` line of a file.
  private static func field(_ name: String, of path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
    return line?.split(separator: ":").dropFirst().first?.trimmingCharacters(in: .whitespaces)
  }
}
