import Foundation
import Torch
import XTunerCommands
import XTunerRun
import XTunerTokenizers
import XTunerTrainer

/// `xtuner export`.
enum ExportHandler {
  static func run(_ command: ExportCommand) throws {
    let existing = try? FileManager.default.contentsOfDirectory(atPath: command.to)
    guard command.overwrite || existing?.isEmpty ?? true else {
      throw CommandFailure(
        .storage, "--to \(command.to): is not empty; choose another folder, or add --overwrite")
    }
    try OutputName.checkFolder("--to", command.to, inputs: [command.checkpoint])
    let export = try RunExport(path: command.checkpoint)
    try OutputName.checkFolder(
      "--to", command.to, inputs: [export.checkpointPath], sealed: [export.checkpointPath])
    Output.note("\(export.checkpointPath): step \(export.step)")
    let dtype = command.dtype.map { DType($0) } ?? export.dtype
    try export.write(to: command.to, dtype: dtype, overwrites: command.overwrite)
    if command.json {
      Output.write([
        "folder": .string(command.to), "checkpoint": .string(export.checkpointPath),
        "step": .integer(export.step), "dtype": .string("\(dtype)"),
        "parameters": .integer(export.parameterCount),
      ])
    } else {
      let count = NumberFormat.si(Double(export.parameterCount))
      Output.write("\(command.to): \(count) parameters in \(dtype), of step \(export.step)")
    }
  }
}

extension DType {
  /// The tensor type that the weights are written in.
  init(_ type: ExportType) {
    switch type {
    case .float32: self = .float32
    case .bfloat16: self = .bfloat16
    case .float8: self = .float8e4m3
    }
  }
}
