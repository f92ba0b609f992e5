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
    get {
      withExtendedLifetime(self) {
        makeTensor("generator state") { ct_generator_get_state(handle, $0) }
      }
    }
    set {
      withExtendedLifetime((self, newValue)) {
        torchCall("generator state") { ct_generator_set_state(handle, newValue.handle) }
      }
    }
  }

  deinit {
    ct_generator_free(handle)
  }
}

extension Tensor {
  /// Fills CPU tensors with normal numbers, each with those of `Generator(seed:)` of its own seed, on
  /// all threads: the numbers do not depend on how many there are.
  public static func fillNormal(
    _ tensors: [Tensor], seeds: [UInt64], mean: Double = 0, standardDeviation: Double
  ) {
    precondition(tensors.count == seeds.count, "\(tensors.count) tensors, \(seeds.count) seeds")
    withHandles(tensors) { handles in
      torchCall("fillNormal") {
        ct_fill_normal(
          handles.base, seeds, Int64(handles.count), mean, standardDeviation)
      }
    }
  }
}
