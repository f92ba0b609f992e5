extension SampleStore {
  /// Splits the samples into those to train on and those held out.
  ///
  /// A sample's side is a function of its tokens and `seed`: it does not change when data is added,
  /// and equal samples are always on the same side. About `share` of the samples are held out.
  ///
  /// - Parameters:
  ///   - share: The share held out, from 0 up to but not including 1.
  ///   - seed: Chooses among the possible splits.
  /// - Returns: Views of this store, each in its order; either may be empty.
  /// - Throws: `LoaderError` for a share outside its range.
  public func validationSplit(
    share: Double, seed: UInt64
  ) throws(LoaderError) -> (training: SampleSubset, validation: SampleSubset) {
    guard share >= 0, share < 1 else {
      throw LoaderError(
        .invalidOption, "validation_split: must be at least 0 and below 1, is \(share)")
    }
    // Shares are compared in steps of 2^-53, which a Double holds exactly.
    let threshold = UInt64(share * 0x1p53)
    let mixedSeed = SplitMix64.mixed(seed &+ 0x5851_F42D_4C95_7F2D)
    var training: [Int32] = []
    var validation: [Int32] = []
    for index in 0..<count {
      let hash = SplitMix64.mixed(contentHash(at: index) ^ mixedSeed)
      if hash >> 11 < threshold {
        validation.append(Int32(index))
      } else {
        training.append(Int32(index))
      }
    }
    return (
      SampleSubset(of: self, indices: training), SampleSubset(of: self, indices: validation)
    )
  }
}
