public import Torch

/// Moves tensors to host memory and back while others are computed on.
///
/// Host buffers are kept and used again. A device copies by itself, on a stream beside the one that
/// computes and from and to pinned memory; a CPU copies on a thread, to ordinary memory outside the
/// tensor allocator, so that the tensors' own peak shows what a device would save.
public final class HostSwap {
  private let device: Device
  private let copier: any SwapCopier

  /// No buffer yet; for tensors of `device`.
  public init(device: Device = .cpu, instruments: Instruments = Instruments()) {
    self.device = device
    copier =
      device.kind == .cpu
      ? ThreadSwapCopier(instruments) : StreamSwapCopier(device, instruments)
  }

  /// Bytes of all host buffers.
  public var hostCounter: ByteCounter { copier.hostCounter }
  /// Bytes of all host buffers.
  public var hostByteCount: Int { hostCounter.byteCount }

  /// Starts to copy a tensor out; its memory is free when the result says so and nothing else holds
  /// the tensor.
  public func out(_ tensor: Tensor) -> SwappedTensor {
    precondition(tensor.device.kind == device.kind, "\(tensor) is not swapped by \(device)")
    return SwappedTensor(withoutGradients { copier.out(tensor.detached().contiguous()) })
  }

  /// Starts to copy it back.
  public func back(_ swapped: SwappedTensor) { swapped.startReturn() }
}

/// A tensor that is in host memory, or on its way.
public final class SwappedTensor {
  private let copy: any SwapCopy
  private var isReturning = false

  fileprivate init(_ copy: any SwapCopy) { self.copy = copy }

  /// Waits until the tensor's memory is free.
  ///
  /// On a device what is issued from now on waits, and not the host.
  public func waitUntilOut() { copy.waitUntilOut() }

  fileprivate func startReturn() {
    guard !isReturning else { return }
    isReturning = true
    copy.startReturn()
  }

  /// The tensor, once it is back; on a device what is issued from now on waits for that.
  public func wait() -> Tensor {
    precondition(isReturning, "a swapped tensor is used that nothing brought back")
    return copy.wait()
  }
}

/// How tensors of a kind of device are copied to host memory and back.
protocol SwapCopier {
  /// Bytes of all host buffers.
  var hostCounter: ByteCounter { get }
  /// Starts to copy a contiguous tensor out.
  func out(_ tensor: Tensor) -> any SwapCopy
}

/// One tensor's way out and back.
protocol SwapCopy: AnyObject {
  func waitUntilOut()
  func startReturn()
  func wait() -> Tensor
}
