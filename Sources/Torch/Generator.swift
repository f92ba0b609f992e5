import CTorch

/// A random number generator with an explicit seed.
public final class Generator {
  let handle: OpaquePointer

  /// Creates a generator whose numbers are a function of `seed`.
  public init(seed: UInt64, device: Device = .cpu) {
    var handle: OpaquePointer?
    torchCall("generator") { ct_generator_create(device.raw, seed, &handle) }
    self.handle = handle.unsafelyUnwrapped
  }

  /// The whole state as bytes, for a checkpoint.
  public var state: Tensor {
    get { makeTensor("generator state") { ct_generator_get_state(handle, $0) } }
    set { torchCall("generator state") { ct_generator_set_state(handle, newValue.handle) } }
  }

  deinit {
    ct_generator_free(handle)
  }
}
