import CZstd

/// The contents of a zstd file, of all its frames.
final class ZstdBytes: ByteSource {
  private let path: String
  private var input: CompressedInput
  private let decoder: OpaquePointer
  private let limit: RecordSizeLimit
  /// Whether the last frame that was started is complete.
  private var isBetweenFrames = false

  init(file: FileBytes, limit: RecordSizeLimit) throws(DataReadError) {
    path = file.path
    self.limit = limit
    input = CompressedInput(file: file)
    guard let decoder = ZSTD_createDCtx() else {
      throw DataReadError(.unreadableFile, "zstd cannot be started", file: path)
    }
    self.decoder = decoder
    ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax, limit.windowLog)
  }

  deinit { ZSTD_freeDCtx(decoder) }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws(DataReadError) -> Int {
    while true {
      try input.refill()
      if input.isAtEnd, isBetweenFrames { return 0 }
      var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
      var source = ZSTD_inBuffer(
        src: UnsafeRawPointer(input.bytes.baseAddress), size: input.end, pos: input.start)
      let status = ZSTD_decompressStream(decoder, &output, &source)
      input.start = source.pos
      if ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge {
        throw DataReadError(
          .damagedFile,
          """
          the zstd file asks for a window of more than \(limit.byteCount) bytes, as \
          `zstd --long=31` writes them; compress it anew without, or raise data.max_record_bytes
          """, file: path)
      }
      if ZSTD_isError(status) != 0 {
        let reason = String(cString: ZSTD_getErrorName(status))
        throw DataReadError(.damagedFile, "the zstd file is damaged: \(reason)", file: path)
      }
      isBetweenFrames = status == 0
      if output.pos > 0 { return output.pos }
      if input.isAtEnd, !isBetweenFrames {
        throw DataReadError(.damagedFile, "the zstd file is cut off before its end", file: path)
      }
    }
  }
}
