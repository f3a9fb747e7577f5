// Field numbers of proto/holdfast/v1/manifest.proto, for the hand-written encoder and decoder.

/** Why a node ended where it did. */
export const CLOSED_BY_RULE = 1;
export const CLOSED_BY_LIMIT = 2;
export const CLOSED_BY_END = 3;

export type Closing = typeof CLOSED_BY_RULE | typeof CLOSED_BY_LIMIT | typeof CLOSED_BY_END;

export const NODE_FIELD = { leaf: 1, inner: 2, segments: 3, segmentsInner: 4, pageTags: 5 } as const;

export const LEAF_FIELD = {
  count: 1,
  closing: 2,
  paths: 3,
  stats: 4,
  users: 5,
  groups: 6,
  linkAt: 7,
  linkTarget: 8,
  xattrSets: 9,
  xattrAt: 10,
  xattrSet: 11,
  flagsAt: 12,
  flags: 13,
  linkGroupAt: 14,
  linkGroup: 15,
  contents: 16,
  segments: 17,
  treeReference: 18,
  treeSegments: 19,
  references: 20,
} as const;

export const SEGMENT_NODE_FIELD = { closing: 1, segments: 2, references: 3 } as const;

export const SEGMENT_INNER_FIELD = {
  level: 1,
  closing: 2,
  children: 3,
  segmentCounts: 4,
  lengths: 5,
  proofs: 6,
} as const;

export const REFERENCES_FIELD = { plainLength: 1, proofs: 2, paged: 3, pageTagNode: 4, pageTagList: 5 } as const;

export const PAGE_TAGS_FIELD = { pageBytes: 1, pageCounts: 2, tags: 3 } as const;
