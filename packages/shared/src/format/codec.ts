/** How an object's plain bytes are packed. */
export type CodecName = 'stored' | 'lz4' | 'zstd';
