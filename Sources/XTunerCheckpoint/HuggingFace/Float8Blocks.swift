import Torch
import XTunerModels
import XTunerText

/// The float8 matrices of a Hugging Face folder, each with a tensor of scales beside it.
///
/// `NAME` is F8_E4M3, `[rows, columns]`, and `NAME_scale_inv` has a factor for each block of 128 x 128,
/// `[ceil(rows / 128), ceil(columns / 128)]`: despite its name it is multiplied.
struct Float8Blocks {
  private static let suffix = "_scale_inv"

  /// The names of the scales, which no parameter has.
  let scaleNames: Set<ExactText>

  /// Checks that every float8 tensor has its scales, and that `config.json` says so.
  init(
    _ folder: HFCheckpointFolder, _ configuration: ModelConfiguration
  ) throws(CheckpointError) {
    var scaleNames: Set<ExactText> = []
    for entry in folder.entries where entry.dataType == .float8E4M3 {
      let file = try folder.file(of: entry.name)
      let scaleName = entry.name + Self.suffix
      guard configuration.hasFloat8Blocks else {
        throw CheckpointError(
          .mismatch, path: file.path,
          """
          tensor \(entry.name) is F8_E4M3, and config.json has no quantization_config with \
          quant_method fp8 and weight_block_size [128, 128] to say how it is scaled
          """)
      }
      guard entry.shape.count == 2 else {
        throw CheckpointError(
          .mismatch, path: file.path,
          "tensor \(entry.name) is F8_E4M3 and \(entry.shape); only matrices have blocks")
      }
      guard folder.contains(scaleName) else {
        throw CheckpointError(
          .missing, path: file.path, "tensor \(entry.name) is F8_E4M3, and \(scaleName) is missing")
      }
      let scaleFile = try folder.file(of: scaleName)
      let scale = try scaleFile.entry(scaleName)
      let expected = entry.shape.map(Float8Tensor.tileCount)
      guard scale.shape == expected else {
        throw CheckpointError(
          .mismatch, path: scaleFile.path,
          """
          tensor \(scaleName) is \(scale.shape), must be \(expected) for the blocks of \
          \(entry.name), which is \(entry.shape)
          """)
      }
      guard [.float32, .bfloat16, .float16].contains(scale.dataType) else {
        throw CheckpointError(
          .mismatch, path: scaleFile.path,
          "tensor \(scaleName) is \(scale.dataType.rawValue), must be F32, BF16 or F16")
      }
      scaleNames.insert(scaleName)
    }
    self.scaleNames = scaleNames
  }

  /// The elements of a tensor of the folder in float32, by their range in the flat tensor.
  func reader(
    of name: String, in folder: HFCheckpointFolder
  ) throws(CheckpointError) -> (Range<Int>) -> Tensor {
    let tensor = try folder.file(of: name).tensor(name)
    guard tensor.dtype == .float8e4m3 else {
      let flat = tensor.reshaped([-1])
      return { flat.narrowed(dim: 0, start: $0.lowerBound, length: $0.count).to(.float32) }
    }
    let scaleName = name + Self.suffix
    let scales = try folder.file(of: scaleName).tensor(scaleName).to(.float32)
    let width = tensor.size(1)
    return { range in
      // Whole rows, from the first of a block.
      let firstBand = range.lowerBound / width / Float8Tensor.tileSize
      let firstRow = firstBand * Float8Tensor.tileSize
      let endRow = (range.upperBound + width - 1) / width
      let part = Float8Tensor(
        values: tensor.narrowed(dim: 0, start: firstRow, length: endRow - firstRow),
        scales: scales.narrowed(
          dim: 0, start: firstBand, length: Float8Tensor.tileCount(endRow) - firstBand),
        tiling: .blocks)
      return part.dequantized().view([-1])
        .narrowed(dim: 0, start: range.lowerBound - firstRow * width, length: range.count)
    }
  }
}
