import CTorch

/// Runs `body` without recording operations for gradients on this thread.
public func withoutGradients<Result>(_ body: () throws -> Result) rethrows -> Result {
  try withGradientRecording(false, body)
}

/// Runs `body` with recording of operations for gradients on or off on this thread.
public func withGradientRecording<Result>(
  _ isRecording: Bool, _ body: () throws -> Result
) rethrows -> Result {
  let previous = ct_grad_mode_set(isRecording)
  defer { _ = ct_grad_mode_set(previous) }
  return try body()
}

/// Gradients of `outputs`, weighted by `outputGradients`, with respect to `inputs`.
///
/// - Parameters:
///   - outputs: Tensors of a recorded graph.
///   - inputs: Tensors that require gradients and that the graph started from.
///   - outputGradients: One a tensor of `outputs`, of the same shape; nil for a scalar output.
/// - Returns: One gradient an input, nil for an input that the outputs do not depend on.
public func gradients(
  of outputs: [Tensor], withRespectTo inputs: [Tensor], outputGradients: [Tensor?]
) -> [Tensor?] {
  precondition(outputs.count == outputGradients.count, "one gradient an output")
  return withHandles(outputs) { outs in
    withHandles(inputs) { ins in
      withUnsafeTemporaryAllocation(of: OpaquePointer?.self, capacity: max(outputs.count, 1)) {
        seeds in
        for (index, gradient) in outputGradients.enumerated() { seeds[index] = gradient?.handle }
        return withExtendedLifetime(outputGradients) {
          makeOptionalTensorList("grad") {
            ct_autograd_grad(
              outs.base, outs.count, ins.base, ins.count, seeds.baseAddress.unsafelyUnwrapped,
              false, true, $0)
          }
        }
      }
    }
  }
}

extension Tensor {
  /// Whether operations on this tensor are recorded.
  public var requiresGradient: Bool { withHandle { ct_tensor_requires_grad($0) } }

  /// Marks this leaf tensor as a start of the graph.
  public func setRequiresGradient(_ value: Bool = true) {
    withHandle { handle in
      torchCall("requires_grad_") { ct_tensor_set_requires_grad(handle, value) }
    }
  }

  /// A tensor without elements that stands for this one as the end of its graph.
  ///
  /// Gradients can start from it, with an output gradient of this tensor's shape, and this tensor's
  /// memory need not be kept for that.
  public func graphEnd() -> Tensor {
    withExtendedLifetime(self) { makeTensor("graphEnd") { ct_tensor_graph_end(handle, $0) } }
  }

  /// The same memory outside any graph, as a new start of one.
  public func leaf() -> Tensor {
    let tensor = detached()
    tensor.setRequiresGradient()
    return tensor
  }
}
