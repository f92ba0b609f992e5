import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

/// What is written of one tensor of a model: itself, or float8 values and their scales.
struct ExportItem {
  /// The tensors of the file.
  let entries: [SafetensorsEntry]
  /// Puts them together out of all ranks' parts, in the order of the entries.
  let make: () throws -> [Tensor]

  /// The items of a folder in `dtype`, in the order of its files.
  static func all(
    of model: LanguageModel, units: ModelUnits, dtype: DType
  ) -> [ExportItem] {
    WeightMap(model).placed(in: model).map { entry, parameter in
      func assembled(_ dtype: DType) throws -> Tensor {
        try units.assembled(parameter, elements: entry.elementRange, dtype: dtype)
          .view(entry.shape)
      }
      guard dtype == .float8e4m3 else {
        return ExportItem(
          entries: [
            SafetensorsEntry(name: entry.name, dataType: dtype.safetensorsType, shape: entry.shape)
          ], make: { [try assembled(dtype)] })
      }
      // What layers multiply with in the compute type; not the embedding, the head or the router.
      guard parameter.kind == .matrix, parameter.precision == .compute else {
        return ExportItem(
          entries: [SafetensorsEntry(name: entry.name, dataType: .bfloat16, shape: entry.shape)],
          make: { [try assembled(.bfloat16)] })
      }
      return ExportItem(
        entries: [
          SafetensorsEntry(name: entry.name, dataType: .float8E4M3, shape: entry.shape),
          SafetensorsEntry(
            name: "\(entry.name)_scale_inv", dataType: .float32,
            shape: entry.shape.map(Float8Tensor.tileCount)),
        ],
        make: {
          let blocks = try assembled(.float32).quantizedInBlocks()
          return [blocks.values, blocks.scales]
        })
    }
  }
}
