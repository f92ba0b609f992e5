public import XTunerConfiguration
public import XTunerEngine
public import XTunerLaunch
public import XTunerParallel
public import XTunerRun
public import XTunerTokenizers

/// One run of `xtuner train`: data, model, steps, evaluation, checkpoints and export.
///
/// Synchronous, and confined to the thread that created it.
public final class TrainingRun {
  private let setup: RunSetup
  private let loop: StepLoop

  /// Prepares everything: nothing is trained yet, but all that can fail early has been tried.
  ///
  /// Every rank makes its run at the same time; `environment` says which one this is.
  ///
  /// - Parameters:
  ///   - configuration: What to train.
  ///   - resume: What to do with a run that is in the directory already.
  ///   - stopRequest: The wish to end it early.
  ///   - environment: This process's place among the ranks.
  ///   - tracedSteps: Steps of which a timeline is written.
  /// - Throws: What is wrong with configuration, data, model, checkpoint or run directory, on the rank
  ///   that met it; `TrainingError` with the ranks' names on the others.
  public init(
    _ configuration: RunConfiguration, resume: ResumePolicy, stopRequest: StopRequest,
    environment: RankEnvironment = .single, tracedSteps: TraceSteps? = nil
  ) throws {
    setup = try RunSetup(
      configuration, resume: resume, stopRequest: stopRequest, environment: environment,
      tracedSteps: tracedSteps)
    loop = StepLoop(setup, stopRequest: stopRequest)
  }

  /// Trains until the last step or a stop request, and writes what the configuration asks for.
  public func run() throws -> TrainingOutcome {
    do {
      return try loop.run()
    } catch {
      setup.place.ranks.leave(because: error)
      throw error
    }
  }

  /// The model as it is now, for use beside training (the demo's accuracy before training).
  public var model: PreparedModel { setup.learner.prepared }

  /// The tokenizer of the data.
  public var tokenizer: Tokenizer { setup.data.prepared.tokenizer }
}

/// How a run ended.
public struct TrainingOutcome: Sendable {
  /// Optimizer steps done, over all sessions of the run.
  public var step: Int
  /// The first step that this session computed; nil when no step was taken.
  public var firstStep: Int?
  /// Whether a signal stopped it early; a checkpoint was written.
  public var isStopped: Bool
  /// The loss of the last step; nil when no step was taken.
  public var finalLoss: Double?
  /// The exported Hugging Face folder, if one was written.
  public var exportPath: String?
  /// Where everything is.
  public var layout: RunLayout
}
