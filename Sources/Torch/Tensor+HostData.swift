import CTorch

extension Tensor {
  /// A tensor with a copy of `elements`, row-major.
  public init<Element: TensorElement>(
    _ elements: [Element], shape: [Int]? = nil, device: Device = .cpu
  ) {
    self = elements.withUnsafeBytes { bytes in
      Tensor(bytes: bytes, shape: shape ?? [elements.count], dtype: Element.dtype, device: device)
    }
  }

  /// A tensor with a copy of `bytes`, row-major; their count must be that of the shape.
  public init(bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType, device: Device = .cpu) {
    self = withIntegers(shape) { sizes in
      makeTensor("fromBytes") {
        ct_tensor_from_bytes(
          bytes.baseAddress, bytes.count, sizes.base, sizes.count, dtype.rawValue, device.raw, $0)
      }
    }
  }

  /// A tensor over memory that `owner` keeps alive; nothing is copied.
  ///
  /// The memory may be read-only (a mapped file): then the tensor must not be written to.
  public init(
    borrowing bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType, owner: AnyObject
  ) {
    precondition(
      bytes.count == shape.reduce(1, *) * dtype.size,
      "\(bytes.count) bytes for shape \(shape) of \(dtype)")
    let context = Unmanaged.passRetained(owner).toOpaque()
    self = withIntegers(shape) { sizes in
      makeTensor("fromMemory") {
        ct_tensor_from_memory(
          UnsafeMutableRawPointer(mutating: bytes.baseAddress), sizes.base, sizes.count,
          dtype.rawValue,
          { context in
            guard let context else { return }
            Unmanaged<AnyObject>.fromOpaque(context).release()
          }, context, $0)
      }
    }
  }

  /// The elements, row-major.
  ///
  /// Copies, and waits for the device.
  public func elements<Element: TensorElement>(as type: Element.Type = Element.self) -> [Element] {
    precondition(dtype == Element.dtype, "the tensor is \(dtype), not \(Element.dtype)")
    let count = elementCount
    return [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      withHandle { handle in
        torchCall("elements") {
          ct_tensor_copy_to_host(handle, buffer.baseAddress, count * MemoryLayout<Element>.stride)
        }
      }
      initialized = count
    }
  }

  /// The elements converted to `Float`, row-major.
  ///
  /// Copies, and waits for the device.
  public func floats() -> [Float] { to(.float32).elements(as: Float.self) }

  /// The elements converted to `Int64`, row-major.
  ///
  /// Copies, and waits for the device.
  public func integers() -> [Int64] { to(.int64).elements(as: Int64.self) }

  /// Copies the elements, row-major, into `bytes`, whose count must be `byteCount`.
  ///
  /// Waits for the device.
  public func copyBytes(to bytes: UnsafeMutableRawBufferPointer) {
    withHandle { handle in
      torchCall("copyBytes") { ct_tensor_copy_to_host(handle, bytes.baseAddress, bytes.count) }
    }
  }

  /// Calls `body` with the memory of a contiguous CPU tensor.
  public func withMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try withHandle { handle in
      var base: UnsafeMutableRawPointer?
      torchCall("data") { ct_tensor_data(handle, &base) }
      return try body(UnsafeMutableRawBufferPointer(start: base, count: byteCount))
    }
  }

  /// The one element.
  ///
  /// Waits for the device.
  public func item() -> Double {
    var value = 0.0
    withHandle { handle in torchCall("item") { ct_tensor_item(handle, &value) } }
    return value
  }

  /// The one element, an integer.
  ///
  /// Waits for the device.
  public func integerItem() -> Int {
    var value: Int64 = 0
    withHandle { handle in torchCall("item") { ct_tensor_item_integer(handle, &value) } }
    return Int(value)
  }
}
