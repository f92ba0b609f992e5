import Foundation
import Torch
import XTunerGeneration
import XTunerModels
import XTunerNN
import XTunerTokenizers
import XTunerEngine

/// A reference checkpoint of the repository, in float32.
func referenceModel(_ name: String) throws -> LanguageModel {
  let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  let path = tests.appending(path: "Fixtures/reference/\(name)").path(percentEncoded: false)
  return try PreparedModel(path: path, computeDType: .float32).model
}

/// A small dense model of random weights, so large that logits differ widely; `window` and
/// `hasSinks` are those of its first layer.
func randomModel(
  vocabularySize: Int = 293, maximumPositionCount: Int = 97, window: Int? = nil,
  hasSinks: Bool = false, computeDType: DType = .float32
) -> LanguageModel {
  var configuration = ModelConfiguration.qwen3(
    vocabularySize: vocabularySize, hiddenSize: 24, intermediateSize: 40, layerCount: 2,
    headCount: 6, keyValueHeadCount: 2, headSize: 10, tiesEmbeddings: false)
  configuration.maximumPositionCount = maximumPositionCount
  configuration.initializerRange = 0.3
  if case .groupedQuery(var attention) = configuration.layers[0].attention {
    attention.window = window
    attention.hasSinks = hasSinks
    configuration.layers[0].attention = .groupedQuery(attention)
  }
  let prepared = PreparedModel(configuration, computeDType: computeDType, isTrained: false)
  prepared.initialize(seed: 11)
  return prepared.model
}

/// Logits of the last token of `tokens` by a forward pass over all of them, float32.
func lastLogits(_ model: LanguageModel, _ tokens: [Int32]) -> [Float] {
  withoutGradients {
    let contexts = model.makeContexts(ModelInput(bounds: [0, tokens.count]))
    let hiddenTD = model.hiddenStates(Tensor(tokens).to(.int64), contexts)
    return model.head(hiddenTD.narrowed(dim: 0, start: tokens.count - 1, length: 1)).floats()
  }
}

/// The first of the largest values.
func argMax(_ values: [Float]) -> Int32 {
  Int32(values.indices.max { values[$0] < values[$1] || (values[$0] == values[$1] && $0 > $1) }!)
}

/// A tokenizer with one token a byte, ids 0 to 255, and `<|stop|>` as 256.
func byteTokenizer() throws -> Tokenizer {
  // The alphabet of byte-level BPE: printable bytes stand for themselves, others follow from 256.
  var next = UInt32(256)
  var vocabulary: [String: Int] = [:]
  for byte in 0..<256 {
    let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
    let scalar = isPrintable ? UInt32(byte) : next
    if !isPrintable { next += 1 }
    vocabulary[String(Character(Unicode.Scalar(scalar)!))] = byte
  }
  let object: [String: Any] = [
    "version": "1.0",
    "added_tokens": [
      [
        "id": 256, "content": "<|stop|>", "special": true, "normalized": false, "lstrip": false,
        "rstrip": false, "single_word": false,
      ]
    ],
    "pre_tokenizer": [
      "type": "ByteLevel", "add_prefix_space": false, "use_regex": false, "trim_offsets": false,
    ],
    "decoder": ["type": "ByteLevel"],
    "model": ["type": "BPE", "vocab": vocabulary, "merges": [String]()],
  ]
  let bytes = try JSONSerialization.data(withJSONObject: object)
  return try Tokenizer(tokenizerJSON: Array(bytes), name: "bytes")
}
