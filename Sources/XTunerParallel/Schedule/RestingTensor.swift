public import Torch

/// A tensor that is used now and then, such as an optimizer's moment, and may rest in host memory
/// meanwhile.
public final class RestingTensor {
  private enum Place {
    case here(Tensor)
    case resting(SwappedTensor)
    case returning(SwappedTensor)
  }

  private let swap: HostSwap?
  private var place: Place

  /// A tensor that rests where `swap` is given, and is always there otherwise.
  public init(_ tensor: Tensor, swap: HostSwap?) {
    self.swap = swap
    guard let swap else {
      place = .here(tensor)
      return
    }
    let swapped = swap.out(tensor)
    // So that not all tensors of a model are here at once.
    swapped.waitUntilOut()
    place = .resting(swapped)
  }

  /// Starts to bring it back, ahead of its use.
  public func prefetch() {
    guard let swap, case .resting(let swapped) = place else { return }
    swap.back(swapped)
    place = .returning(swapped)
  }

  /// Runs `body` with the tensor, whose changes stay; it goes back to rest afterwards.
  public func use<Result>(_ body: (Tensor) throws -> Result) rethrows -> Result {
    prefetch()
    let tensor: Tensor
    switch place {
    case .here(let present): tensor = present
    case .returning(let swapped), .resting(let swapped): tensor = swapped.wait()
    }
    place = .here(tensor)
    defer { if let swap { place = .resting(swap.out(tensor)) } }
    return try body(tensor)
  }
}
