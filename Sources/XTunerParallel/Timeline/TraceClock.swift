import Dispatch

/// The clock of timelines: monotonic, and common to all processes of a machine.
public enum TraceClock {
  /// Nanoseconds since the machine was started; costs some tens of nanoseconds.
  public static func now() -> Int64 {
    Int64(clamping: DispatchTime.now().uptimeNanoseconds)
  }

  /// Nanoseconds to add to the clock of `rank` for the clock of rank 0.
  ///
  /// `samples` has one list a round, with each rank's clock at the end of the same barrier. The
  /// median over rounds is taken: ranks leave a barrier some time apart, now this one first and now
  /// that. Ranks of one machine share its clock and need no offset.
  public static func offset(ofRank rank: Int, samples: [[Int64]]) -> Int64 {
    precondition(!samples.isEmpty, "an offset needs at least one sample")
    let differences = samples.map { $0[0] - $0[rank] }.sorted()
    return differences[differences.count / 2]
  }
}
