import Foundation
public import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerParallel
import XTunerTokenizers

/// A checkpoint of a run, to be written as a Hugging Face folder.
public struct RunExport {
  private let checkpoint: RunCheckpoint
  private let configuration: RunConfiguration
  private let prepared: PreparedModel

  /// Reads the weights of a checkpoint in float32.
  ///
  /// - Parameter path: A run directory, of which the newest complete checkpoint is taken, or a
  ///   checkpoint folder inside one. The run's `config.yaml` names the model.
  /// - Throws: `TrainingError` where there is no run or no checkpoint, `CheckpointError` where the
  ///   checkpoint is damaged, and what reading the configuration and the model's `config.json`
  ///   throws.
  public init(path: String) throws {
    let (checkpoint, layout) = try Self.find(path)
    configuration = try RunConfiguration.load(file: layout.configuration)
    self.checkpoint = checkpoint
    try checkpoint.verify()
    // In float32 an inference unit keeps the weights as they were trained.
    prepared = PreparedModel(
      try configuration.modelConfiguration(), computeDType: .float32, isTrained: false)
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

  /// The number type that the run computed in.
  public var dtype: DType { DType(configuration.model.dtype) }

  /// Weights of the model.
  public var parameterCount: Int { prepared.model.configuration.parameterCount }

  /// Writes the folder: safetensors, `config.json` and the tokenizer of the run.
  public func write(to path: String, dtype: DType, overwrites: Bool) throws {
    guard let tokenizerPath = configuration.tokenizer.path else {
      throw configuration.error(at: "tokenizer.path", "must be given; it belongs to the export")
    }
    try HFWeights.export(
      prepared.model, units: prepared.units, to: path, dtype: dtype, overwrites: overwrites,
      files: try configuration.exportFiles(
        try Tokenizer(path: tokenizerPath), template: try configuration.chatTemplate()))
  }

  private static func find(_ path: String) throws -> (RunCheckpoint, RunLayout) {
    let manager = FileManager.default
    let run = RunLayout(root: path)
    if manager.fileExists(atPath: run.configuration) {
      guard let newest = try RunCheckpointStore(folder: run.checkpoints).latestComplete() else {
        throw TrainingError(
          .model, "\(run.checkpoints): holds no complete checkpoint; train the run first")
      }
      return (newest, run)
    }
    // RUN/checkpoints/step-00000100
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().deletingLastPathComponent()
    let parent = RunLayout(root: folder.path)
    guard manager.fileExists(atPath: parent.configuration) else {
      throw TrainingError(
        .model,
        """
        \(path): is neither a run directory, which holds config.yaml, nor a checkpoint of one, \
        such as RUN/checkpoints/step-00000100
        """)
    }
    guard manager.fileExists(atPath: path) else {
      let steps = try RunCheckpointStore(folder: parent.checkpoints).scan().complete
        .map { String($0.step) }
      throw TrainingError(
        .model,
        """
        \(path): there is no such checkpoint; the run has those of the steps \
        \(steps.joined(separator: ", "))
        """)
    }
    return (try RunCheckpoint(path: path), parent)
  }
}
