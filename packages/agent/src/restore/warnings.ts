// What a restore has to say about single paths. The collection itself is every job's: jobs/warnings.ts.

/** Codes a restore uses. */
export type WarningCode =
  /** Content or a part of the manifest could not be read; the file was not restored. */
  | 'damaged'
  /** The file, directory or link could not be written. */
  | 'not-restored'
  /** It is there, but an owner, mode, attribute or time could not be set. */
  | 'metadata'
  /** What was written does not look like what the snapshot says. */
  | 'differs'
  /** A path that was asked for is not in the snapshot. */
  | 'not-in-snapshot'
  /** Something in the target that the snapshot does not have could not be removed. */
  | 'not-removed';
