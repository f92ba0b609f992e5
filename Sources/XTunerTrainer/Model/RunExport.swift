import Foundation
public import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerEngine
import XTunerModels
import XTunerParallel
import XTunerRun
import XTunerTokenizers

/// A checkpoint of a run, to be written as a Hugging Face folder.
///
/// A checkpoint has everything that this needs; those of before version 3 need the run's `config.yaml`,
/// and the tokenizer and model that it names.
public struct RunExport {
  private let checkpoint: RunCheckpoint
  private let prepared: PreparedModel
  private let files: [ModelFile]
  /// The number type that the run computed in.
  public let dtype: DType

  /// Reads the weights of a checkpoint in float32.
  ///
  /// - Parameter path: A run directory, of which the newest complete checkpoint is taken, or a
  ///   checkpoint folder, wherever it lies.
  /// - Throws: `TrainingError` where there is no run or no checkpoint, `CheckpointError` where the
  ///   checkpoint is damaged, and what reading configuration and tokenizer throws where the checkpoint
  ///   does not have them.
  public init(path: String) throws {
    let checkpoint = try Self.find(path)
    self.checkpoint = checkpoint
    try checkpoint.verify()
    let model: ModelConfiguration
    if let carried = try ModelConfiguration(carriedBy: checkpoint) {
      model = carried
      files = try checkpoint.modelFiles().besideConfiguration
      dtype = model.weightType == DType.float32.configurationName ? .float32 : .bfloat16
    } else {
      let configuration = try Self.configuration(of: checkpoint)
      model = try configuration.describedModel(startingAt: checkpoint).configuration
      files = try Self.files(configuration)
      dtype = DType(configuration.model.dtype)
    }
    // In float32 an inference unit keeps the weights as they were trained.
    prepared = PreparedModel(model, computeDType: .float32, isTrained: false)
    try UnitFiles.load(
      checkpoint,
      into: prepared.units.all.map {
        UnitFiles.Part(unit: $0, kind: .weights, tensor: $0.weights)
      })
  }

  /// The checkpoint's folder.
  public var checkpointPath: String { checkpoint.path }

  /// Optimizer steps done when the checkpoint was made.
  public var step: Int { checkpoint.step }

  /// Weights of the model.
  public var parameterCount: Int { prepared.model.facts.parameterCount }

  /// Writes the folder: safetensors, `config.json` and what the run had beside them.
  public func write(to path: String, dtype: DType, overwrites: Bool) throws {
    try HFWeights.export(
      prepared.model, units: prepared.units, to: path, dtype: dtype, overwrites: overwrites,
      files: files)
  }

  /// `RUN`, or a checkpoint such as `RUN/checkpoints/step-00000100`.
  private static func find(_ path: String) throws -> RunCheckpoint {
    let manager = FileManager.default
    let run = RunLayout(root: path)
    if manager.fileExists(atPath: run.configuration) || manager.fileExists(atPath: run.checkpoints)
    {
      guard let newest = try RunCheckpointStore(folder: run.checkpoints).newest().checkpoint else {
        throw TrainingError(
          .model, "\(run.checkpoints): holds no complete checkpoint; train the run first")
      }
      return newest
    }
    if manager.fileExists(atPath: path) {
      guard manager.fileExists(atPath: "\(path)/manifest.json") else {
        throw TrainingError(
          .model,
          """
          \(path): is neither a run directory, which holds config.yaml and checkpoints, nor a \
          checkpoint, which holds manifest.json, such as RUN/checkpoints/step-00000100
          """)
      }
      return try RunCheckpoint(path: path)
    }
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
    let steps = try RunCheckpointStore(folder: folder).scan().complete.map { String($0.step) }
    throw TrainingError(
      .model,
      steps.isEmpty
        ? "\(path): there is no such run or checkpoint"
        : """
        \(path): there is no such checkpoint; the run has those of the steps \
        \(steps.joined(separator: ", "))
        """)
  }

  // MARK: Checkpoints of before version 3

  private static func configuration(of checkpoint: RunCheckpoint) throws -> RunConfiguration {
    // RUN/checkpoints/step-00000100
    let folder = URL(fileURLWithPath: checkpoint.path)
      .deletingLastPathComponent().deletingLastPathComponent()
    let run = RunLayout(root: folder.path)
    guard FileManager.default.fileExists(atPath: run.configuration) else {
      throw TrainingError(
        .model,
        """
        \(checkpoint.path): was written by an earlier version, whose checkpoints do not carry the \
        model's configuration and tokenizer; it must lie in its run, where config.yaml names them
        """)
    }
    return try RunConfiguration.load(file: run.configuration)
  }

  private static func files(_ configuration: RunConfiguration) throws -> [ModelFile] {
    guard let path = configuration.tokenizer.path else {
      throw configuration.error(at: "tokenizer.path", "must be given; it belongs to the export")
    }
    return try configuration.exportFiles(
      try Tokenizer(path: path), template: try configuration.chatTemplate())
  }
}
