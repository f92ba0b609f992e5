import Torch

/// Copies tensors that have no memory: they come and go as those of a device do.
///
/// No host memory is taken.
final class ImaginedSwapCopier: SwapCopier {
  private struct Outgoing {
    weak var copy: ImaginedSwapCopy?
  }

  let hostCounter = ByteCounter()
  private var outgoing: [Outgoing] = []

  func out(_ tensor: Tensor) -> any SwapCopy {
    while outgoing.count >= StreamSwapCopier.outLimit {
      outgoing.removeFirst().copy?.waitUntilOut()
    }
    let copy = ImaginedSwapCopy(tensor)
    outgoing.append(Outgoing(copy: copy))
    return copy
  }
}

private final class ImaginedSwapCopy: SwapCopy {
  private let shape: [Int]
  private let dtype: DType
  /// The tensor until somebody waits for its copy.
  private var source: Tensor?
  private var returned: Tensor?

  init(_ tensor: Tensor) {
    (shape, dtype) = (tensor.shape, tensor.dtype)
    source = tensor
  }

  func waitUntilOut() { source = nil }

  func startReturn() {
    waitUntilOut()
    returned = Tensor.empty(shape, dtype: dtype, device: .meta)
  }

  func wait() -> Tensor {
    guard let returned else { preconditionFailure("a swapped tensor was lost") }
    return returned
  }
}
