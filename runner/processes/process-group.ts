/**
 * Holds all the processes of one hosted command, whatever they do to their environment, session and parents. The system
 * keeps it: a cgroup.
 */
export interface ProcessGroup {
  /** For the journal: a killed runner's successor opens it by this. */
  readonly path: string;
  /** At once, for a process that waits for it: see `entering`. */
  admit(pid: number): void;
  members(): Promise<number[]>;
  /** SIGKILL to all at once, so that none forks meanwhile; false where the system can't. */
  kill(): Promise<boolean>;
  /** Once it is empty. */
  remove(): Promise<void>;
}

export interface ProcessGroups {
  /** Null: this host has none. */
  make(marker: string): Promise<ProcessGroup | null>;
  /** As {@link ProcessGroup.path} of an earlier runner; null if there is none. */
  open(path: string): ProcessGroup | null;
}

/** For hosts without them. */
export const noProcessGroups: ProcessGroups = {
  make: () => Promise.resolve(null),
  open: () => null,
};
