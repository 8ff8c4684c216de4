import { byRunner } from "../helpers/backend-kind.ts";
import { backends } from "./proxy-exactness.test.ts";

/** Every case of the edge alone, once more with a runner's tunnel in between. */
backends.kind = byRunner();
