import Testing

@testable import Torch

struct TensorTests {
  @Test func keepsShapeDTypeAndElements() {
    let tensor = Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
    #expect(tensor.shape == [2, 3])
    #expect(tensor.dtype == .float32)
    #expect(tensor.elements(as: Float.self) == [1, 2, 3, 4, 5, 6])
    #expect(tensor.transposed(0, 1).elements(as: Float.self) == [1, 4, 2, 5, 3, 6])
  }
}
