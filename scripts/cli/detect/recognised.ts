/** A command, and what it was concluded from. */
export interface Guess {
  command: string;
  why: string;
}

/** What a kind of project says of itself. */
export interface Recognised {
  name: string;
  install?: Guess | null;
  build: Guess | null;
  start: Guess | null;
  env?: Record<string, string>;
  /** Why there is no start command although the project is known. */
  missing?: string;
}
