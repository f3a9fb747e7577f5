// Limits of a manifest. They are part of the format: the writer closes nodes by them, and the reader refuses what is
// beyond them before it allocates anything.
//
// The closing rules look only at what is in the node already, never at the entry that would come next: so a node that
// closed by a limit closes there again, whatever follows it, and can be reused.

/** Where the nodes of a manifest end. Tests alone use others than the format's, to get many levels from few entries. */
export interface NodeBounds {
  /** A leaf closes after an entry whose boundary hash (32 bits) is under this. */
  readonly leaf: number;
  /** An inner node closes after a child whose boundary hash is under this. */
  readonly inner: number;
  readonly maxEntries: number;
  readonly maxChildren: number;
}

export const MAX_LEAF_ENTRIES = 4096;
export const MAX_INNER_CHILDREN = 4096;

/** 512 entries a leaf and 128 children an inner node, on average. */
export const NODE_BOUNDS: NodeBounds = {
  leaf: 2 ** 32 / 512,
  inner: 2 ** 32 / 128,
  maxEntries: MAX_LEAF_ENTRIES,
  maxChildren: MAX_INNER_CHILDREN,
};

/** A segment-tree inner node closes after a child whose boundary hash is under this: 128 children on average. */
export const SEGMENT_CHILD_BOUND = 2 ** 32 / 128;
/** A segment-tree leaf closes after a segment whose boundary hash is under this: about 1,024 segments on average. */
export const SEGMENT_BOUNDARY_BOUND = 2 ** 32 / 1024;

/** An inner node never closes by the rule with fewer children: so every level is smaller than the one below. */
export const MIN_INNER_CHILDREN = 2;
export const MAX_TREE_SEGMENTS = 4096;
/** A segment-tree leaf never closes by the rule below this: a file that repeats one chunk must not get a node for each. */
export const MIN_TREE_SEGMENTS = 64;
/** Levels above the leaves. 2^40 entries need fewer than 40 levels even with two children a node. */
export const MAX_LEVEL = 40;

export const MAX_NODE_PAYLOAD_BYTES = 1024 * 1024;
export const MAX_NODE_REFERENCES = 16_384;
/** A node closes once its entries weigh this much (see `entryWeight`); no entry weighs more than the rest to 1 MiB. */
export const CLOSING_WEIGHT = 768 * 1024;

/** 400 levels of 255 bytes are 102,399 bytes; Linux itself sets no limit to the depth of a tree. */
export const MAX_PATH_BYTES = 128 * 1024;
/** 255 characters of 4 bytes: file systems that count characters, not bytes, have names this long. */
export const MAX_NAME_BYTES = 1020;
/** Sum of the decoded lengths of all paths of one node: bounds what a few bytes of front coding can blow up to. */
export const MAX_NODE_PATH_BYTES = 4 * 1024 * 1024;
/** A node closes once the sum of its path lengths is at least this. */
export const CLOSING_PATH_BYTES = MAX_NODE_PATH_BYTES - MAX_PATH_BYTES;

/** PATH_MAX without its NUL. */
export const MAX_LINK_TARGET_BYTES = 4095;
export const MAX_OWNER_NAME_BYTES = 1024;
/** Names and values of one entry's xattrs; more than this goes to a chunk. */
export const MAX_INLINE_XATTR_BYTES = 4096;
export const MAX_XATTR_NAME_BYTES = 255;
export const MAX_XATTRS = 4096;
/** Pages whose tags stand in one page-tag node: 256 KiB of tags. */
export const MAX_TAGGED_PAGES = 16_384;
/** Chunks whose pages have tags in one page-tag node. */
export const MAX_PAGE_TAG_LISTS = 4096;
/** More segments than this go to a segment tree. */
export const MAX_INLINE_SEGMENTS = 8;
/** The plain length of any object (repository format, Objects). */
export const MAX_CHUNK_BYTES = 16 * 1024 * 1024;

export const ID_BYTES = 32;
export const PROOF_BYTES = 16;
export const TAG_BYTES = 16;
