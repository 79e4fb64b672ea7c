package books

import "countroom/games/play"

// Play plays rounds from their draw values.
type Play = play.Play
