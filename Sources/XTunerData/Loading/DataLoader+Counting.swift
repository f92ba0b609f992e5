extension DataLoader {
  /// Steps from the position to the end of `epochs` epochs; plans each epoch that is not over.
  ///
  /// Only the packs that are left count, so it holds for a position that was saved with other packs
  /// per step or another number of epochs. Zero where the position is at the end, or past it: see
  /// `isPast(epochs:)`.
  public func stepsLeft(epochs: Int) throws(LoaderError) -> Int {
    var packCount = 0
    var fullStepCount = 0
    for epoch in min(state.epoch, epochs)..<epochs {
      let consumed = epoch == state.epoch ? state.packsConsumed : 0
      let count = max(try self.packCount(epoch: epoch) - consumed, 0)
      packCount += count
      fullStepCount += count / options.packsPerStep
    }
    switch options.epochEnd {
    case .wrap: return (packCount + options.packsPerStep - 1) / options.packsPerStep
    case .dropLast: return fullStepCount
    }
  }

  /// Whether packs of a later epoch have been given already.
  public func isPast(epochs: Int) -> Bool {
    state.epoch > epochs || state.epoch == epochs && state.packsConsumed > 0
  }
}
