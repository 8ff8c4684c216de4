import { placeOnRunner } from "../runners/placement.ts";
import { controlRouter } from "./openapi.ts";
import { place } from "./routes/placements.ts";

export const placements = controlRouter().openapi(place, async (c) => {
  const wish = c.req.valid("json");
  return c.json(await placeOnRunner(c.env.control, wish, { needsSource: false, at: "" }), 200);
});
