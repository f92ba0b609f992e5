public import Torch

extension FlatUnit {
  /// Starts to bring the whole unit together; nothing where it is under way or there.
  public func gather() throws(CommunicationError) {
    guard group.size > 1, gathered == nil else { return }
    let (whole, own) = (float8?.whole ?? whole, float8?.own ?? compute)
    let buffer = pool.take(byteCount: elementCount * own.dtype.size)
    whole.attachMemory(of: buffer)
    // The collective writes through a tensor of its own: writing to `whole` would count as a change
    // of what a graph has saved, though the numbers are the same as before.
    let target = Tensor.detachedStorage(
      count: elementCount, dtype: own.dtype, device: device)
    target.attachMemory(of: buffer)
    gathered = (buffer, try group.allGather(into: target, from: own, label: name))
  }

  /// Waits until the whole unit is there.
  public func waitUntilGathered() throws(CommunicationError) {
    guard group.size > 1 else { return }
    guard let (buffer, work) = gathered else {
      preconditionFailure("\(name) is used and was not gathered")
    }
    guard let work else { return }
    try work.wait()
    gathered = (buffer, nil)
  }

  /// Gives the whole unit's memory back; the own part stays.
  public func release() throws(CommunicationError) {
    guard let (buffer, work) = gathered else { return }
    // Memory that a collective still writes to must not go to another unit.
    try work?.wait()
    (float8?.whole ?? whole).detachMemory()
    pool.giveBack(buffer)
    gathered = nil
  }

  /// Whether the whole unit is there, or on its way.
  public var isGathered: Bool { group.size == 1 || gathered != nil }
}
