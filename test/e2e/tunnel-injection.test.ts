import { byRunner } from "../helpers/backend-kind.ts";
import { backends } from "./injection.test.ts";

/** Every case of a backend with an address, once more with a runner's tunnel in between. */
backends.kind = byRunner();
