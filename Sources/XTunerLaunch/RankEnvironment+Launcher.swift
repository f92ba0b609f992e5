import Foundation
import Torch
public import XTunerRun

extension RankEnvironment {
  /// Makes this process end with its local launcher, however that ends; nothing for other launchers.
  ///
  /// To be called first thing in a rank's process.
  ///
  /// - Throws: ``TrainingError`` where the launcher has gone already.
  public func followLauncher() throws(TrainingError) {
    guard let launcherProcess else { return }
    Torch.exitWithParent()
    // The launcher may have ended before the kernel was asked to tell.
    guard getppid() == launcherProcess else {
      throw TrainingError(
        .communication, "rank \(rank): its launcher, process \(launcherProcess), has ended")
    }
  }

  /// Refuses to start local ranks inside a rank.
  ///
  /// - Parameters:
  ///   - processCount: The value of `--nproc`.
  ///   - environment: All variables of the process.
  /// - Throws: ``TrainingError`` that names the variables.
  public static func checkLocalLaunch(
    processCount: Int, _ environment: [String: String]
  ) throws(TrainingError) {
    let set = torchrunVariables.filter { environment[$0]?.isEmpty == false }
    guard set.isEmpty || !hasTorchrunVariables(environment) else {
      let values = set.map { "\($0)=\(environment[$0] ?? "")" }.joined(separator: " ")
      throw TrainingError(
        .usage,
        """
        --nproc \(processCount) starts ranks, but torchrun's variables say that this process is a \
        rank already (\(values)); leave out --nproc, or unset them
        """)
    }
    guard !isSlurmStep(environment) else {
      let values = ["SLURM_PROCID", "SLURM_NTASKS"]
        .map { "\($0)=\(environment[$0] ?? "")" }.joined(separator: " ")
      throw TrainingError(
        .usage,
        """
        --nproc \(processCount) starts ranks, but Slurm's variables say that this process is a \
        rank already (\(values)); leave out --nproc, or start one task with srun --ntasks 1
        """)
    }
  }
}
