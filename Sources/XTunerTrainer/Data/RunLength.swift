import XTunerConfiguration
import XTunerData

/// How long a run is, and where in the learning-rate schedule each of its steps stands.
///
/// With `training.steps` the number is the length, and the data goes on. With `training.epochs` the
/// data is: what is left of it, in steps of the present size, follows the steps that are done.
struct RunLength: Equatable {
  /// The last step, counted over all sessions.
  let stepCount: Int
  /// Steps of the schedule: those of the whole data at the present size of a step.
  ///
  /// It differs from `stepCount` where earlier sessions took steps of another size. The schedule is
  /// counted from its end then, so that the rate goes on near where it was and is at its minimum in
  /// the last step.
  let scheduledStepCount: Int

  /// The length of a run that goes on after `step` steps; the loader stands where they ended.
  ///
  /// - Throws: `ConfigurationError` where more has been trained than is asked for now; what planning
  ///   the data throws.
  init(_ configuration: RunConfiguration, loader: DataLoader, step: Int) throws {
    if let steps = configuration.training.steps {
      guard step <= steps else {
        throw configuration.error(
          at: "training.steps",
          """
          is \(steps), but the checkpoint has \(step) steps behind it; set at least \(step), or go \
          back with --resume RUN/checkpoints/step-N in another run.directory
          """)
      }
      (stepCount, scheduledStepCount) = (steps, steps)
      return
    }
    let epochs = configuration.training.epochs ?? 1
    guard !loader.isPast(epochs: epochs) else {
      let state = loader.state
      throw configuration.error(
        at: "training.epochs",
        """
        is \(epochs), but the checkpoint (step \(step)) stands in epoch \(state.epoch + 1), after \
        \(state.packsConsumed) of its packs; set at least \
        \(state.epoch + (state.packsConsumed > 0 ? 1 : 0)), or go back with --resume \
        RUN/checkpoints/step-N in another run.directory
        """)
    }
    let left = try loader.stepsLeft(epochs: epochs)
    stepCount = step + left
    scheduledStepCount = step == 0 ? left : try loader.stepCount(epochs: epochs)
  }

  /// The step of the schedule that a step of the run has the rate of.
  func scheduledStep(_ step: Int) -> Int {
    // Never below 1: no more steps are left than the whole data has.
    max(scheduledStepCount - (stepCount - step), 1)
  }
}
