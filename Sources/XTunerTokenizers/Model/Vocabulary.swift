/// The tokens of a model with their ids, without added tokens.
struct Vocabulary: Sendable {
  private(set) var table: ByteStringTable
  /// Id of each string of the table.
  private(set) var ids: [Int32] = []
  /// Index in the table of each id, -1 for ids without a token.
  private var indices: [Int32] = []

  /// Room for `capacity` tokens.
  init(capacity: Int) {
    table = ByteStringTable(capacity: capacity)
    ids.reserveCapacity(capacity)
    indices.reserveCapacity(capacity)
  }

  /// The number of tokens.
  var count: Int { ids.count }
  /// One more than the largest id.
  var idLimit: Int { indices.count }

  /// Adds a token; false if its bytes are there already.
  mutating func add(_ bytes: UnsafeBufferPointer<UInt8>, id: Int32) -> Bool {
    guard table.insert(bytes).isNew else { return false }
    ids.append(id)
    while indices.count <= Int(id) { indices.append(-1) }
    indices[Int(id)] = Int32(ids.count - 1)
    return true
  }

  func contains(id: Int) -> Bool { id < indices.count && indices[id] >= 0 }

  @inline(__always)
  func id(of bytes: UnsafeBufferPointer<UInt8>) -> Int32? {
    table.index(of: bytes).map { ids[$0] }
  }

  func id(of token: String) -> Int32? {
    var token = token
    return token.withUTF8 { id(of: $0) }
  }

  /// The bytes of token `id`, or nil.
  func bytes(of id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, contains(id: Int(id)) else { return nil }
    return table.bytes(at: Int(indices[Int(id)]))
  }
}
