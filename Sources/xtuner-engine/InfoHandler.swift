import Foundation
import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerData
import XTunerModels
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// `xtuner info`.
enum InfoHandler {
  static func run(_ command: InfoCommand) {
    let cores = ProcessorCount.available()
    let memory = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    let processor = field("model name", of: "/proc/cpuinfo") ?? "unknown"
    let presets = ModelPreset.all.map(\.name)
    let formats = DataOptions.Format.allCases.map(\.rawValue)
    let cuda = CUDAPlugin(in: Accelerator.programFolder)
    let ascend =
      Accelerator.load(.privateUse) ?? "\(Device.count(of: .privateUse)) NPUs, never tried on one"
    if command.result.isJSON {
      return Output.write([
        "xtuner": .string(XTunerVersion.current), "libtorch": .string(Torch.version),
        "processor": .string(processor), "cpu_capability": .string(Torch.cpuCapability),
        "bfloat16_hardware": .bool(Torch.hasBFloat16Hardware), "cores": .integer(cores),
        "threads": .integer(Torch.threadCount), "memory_bytes": .integer(memory),
        "devices": .strings(["cpu"] + cuda.usableNames), "cuda": cuda.json,
        "ascend": .string(ascend),
        "model_presets": .strings(presets),
        "chat_templates": .strings(ChatTemplate.names), "data_formats": .strings(formats),
      ])
    }
    var rows: [(label: String, value: String)] = [
      ("xtuner", XTunerVersion.current), ("libtorch", Torch.version),
      ("processor", "\(processor), \(cores) cores, \(Torch.cpuCapability)"),
      ("bfloat16", Torch.hasBFloat16Hardware ? "in hardware" : "emulated; f32 is faster here"),
      ("threads", "\(Torch.threadCount)"), ("memory", NumberFormat.bytes(memory)),
      ("devices", (["cpu"] + cuda.usableNames).joined(separator: ", ")),
    ]
    rows += cuda.rows
    rows += [
      ("ascend", ascend),
      ("model presets", presets.joined(separator: ", ")),
      ("chat templates", ChatTemplate.names.joined(separator: ", ")),
      ("data formats", formats.joined(separator: ", ")),
    ]
    Output.write(rows: rows)
  }

  /// The value of the first `NAME : VALUE` line of a file.
  private static func field(_ name: String, of path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
    return line?.split(separator: ":").dropFirst().first?.trimmingCharacters(in: .whitespaces)
  }
}

extension CUDAPlugin {
  /// `cuda:0` and so on; none where something is in the way.
  fileprivate var usableNames: [String] {
    problems.isEmpty ? devices.indices.map { "cuda:\($0)" } : []
  }

  /// Lines for people: the devices that the driver shows, and everything that is in the way.
  fileprivate var rows: [(label: String, value: String)] {
    let found = devices.enumerated().map { index, device in
      (
        label: "cuda:\(index)",
        value: """
        \(device.name), \(NumberFormat.bytes(device.memory)), compute capability \
        \(device.computeCapability), driver for CUDA \(driverVersion ?? "?")
        """
      )
    }
    return found + problems.map { (label: "no cuda", value: $0.message) }
  }

  fileprivate var json: JSONValue {
    .members([
      "usable": .bool(problems.isEmpty), "driver_cuda": .optional(driverVersion),
      "problems": .strings(problems.map(\.message)),
      "devices": .array(
        devices.map {
          .members([
            "name": .string($0.name), "memory_bytes": .integer($0.memory),
            "compute_capability": .string($0.computeCapability),
            "multiprocessors": .integer($0.multiprocessorCount),
          ])
        }),
    ])
  }
}
